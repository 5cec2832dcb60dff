/** Where `caisson policy init` writes when no file is named. */
export const STARTER_FILE = "policy.yaml";

/** What `caisson policy init` writes. Its tests show that it passes `policy check`. */
export const STARTER_POLICY = `# A policy says what a run may do, what a person is asked first, and what is denied.
# What no rule allows is denied. Deny beats ask beats allow; the order of rules means nothing.
#   caisson policy check FILE                     errors, warnings, and the tests below
#   caisson policy explain FILE --exec "CMD"      what it says to one command, and why
version: 1
name: mine
description: Any command in the sandbox; publishing asks a person.
default: deny                    # the only legal value

# Tools without a section of their own.
tools:
  - { id: notes, tool: [plan, remember, recall, compress, output, ask, give_up], decision: allow }

exec:
  # none: no commands. strict: literal words, pipes and redirects only. contained: any shell text, every command
  # in it judged. The sandbox has no network whatever stands here.
  shell: contained
  rules:
    # By position: a word, a list of words, a glob; "..." is last and means any rest.
    - { id: push, argv: [git, push, "..."], decision: ask, effect: external, reason: Publishing needs a person. }
    # \`has\`: one of the arguments matches one of these.
    - { id: force, argv: [git, push, "..."], has: [--force*, -f, +*], decision: deny, reason: It rewrites history. }
    # Anything else. Leave it out and list what you want instead, and only that runs.
    - { id: shell, argv: ["..."], decision: allow }
  # No command may set these.
  env: { deny: [LD_*, NODE_OPTIONS, BASH_ENV, GIT_*] }
  limits: { commands: 50, bytes: 64KiB, timeout: 10m }

files:
  # Left at home: what is not in the sandbox can't leave it.
  ingest: { deny: ["**/.env*", "**/*.pem", "**/.ssh/**", "**/.npmrc"], git: fresh }
  read: { allow: ["/workspace/**", "/usr/**", "/tmp/**"] }
  write: { allow: ["/workspace/**", "/tmp/**"], deny: ["**/.git/hooks/**", "**/.git/config"] }
  # Held when the work is brought back into your folder.
  export: { deny: ["**/.github/workflows/**"], ask: ["**/package.json"] }

limits: { wall: 30m, actions: 200, tokens: 2M, cost: 5USD, denials: 10, asks: 10 }
approvals: { timeout: 15m, onTimeout: deny }
sandbox: { image: base, images: [base, node, python], memory: 2GiB, cpus: 2, pids: 256, disk: 4GiB }

# Run by every check; a policy whose test fails is refused. Write one for each thing you would be sorry about.
tests:
  - { exec: "npm test", expect: allow, rule: shell }
  - { exec: "git push origin main", expect: ask, rule: push }
  - { exec: "git push --force origin main", expect: deny, rule: force }
  - { write: /workspace/src/a.js, expect: allow }
  - { write: /workspace/.git/hooks/pre-commit, expect: deny }
  - { http: "GET https://example.org/", expect: deny }
`;
