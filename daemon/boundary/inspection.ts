/** What leaves a sandbox by the gateway, and what comes back: looked through for secrets on their way (S3). */
import { Buffer } from "node:buffer";
import { TooMuchPacked, unpacked } from "./packed.ts";
import { type Redactor, searchFor } from "./redaction.ts";
import { Scanner, type Search } from "./scanner.ts";

const SECRET_RULE = "builtin.secret";
const PLACEHOLDER_RULE = "builtin.placeholder";
/** A request with this violation ends its run. */
const CANARY_RULE = "builtin.canary";

/** A secret of the run's. */
export interface Watched {
  readonly name: string;
  readonly value: string;
  readonly placeholder: string;
  /** Whether it may be sent there. */
  readonly isFor: (host: string) => boolean;
}

interface Finding {
  readonly rule: string;
  readonly reason: string;
}

/** The gateway's `Inspection`, which this room can't import. */
export interface Inspection {
  outgoing(host: string): Outgoing;
  incoming(): Incoming | undefined;
}

interface Incoming {
  push(piece: Buffer): Buffer;
  end(): Buffer;
}

/** Bytes of a body that are kept to be unpacked. */
const KEPT = 8 * 2 ** 20;
/** Bytes between two attempts to unpack what has come so far, doubled each time. */
const FIRST_LOOK = 64 * 2 ** 10;

const PERCENT = /%[0-9A-Fa-f]{2}/g;
const ESCAPED = /\\u[0-9A-Fa-f]{4}/g;
/** Times that an encoding is undone. */
const UNDONE = 2;

/** One run's. */
export class Inspecting implements Inspection {
  readonly #redactor: Redactor;
  readonly #secrets: readonly Watched[];
  readonly #canaries: readonly string[];
  readonly #taken: (reason: string) => void;
  #marks: Search | undefined;
  #values: Search | undefined;

  /** @param taken called when a canary is on its way out */
  constructor(
    redactor: Redactor,
    secrets: readonly Watched[],
    canaries: readonly string[],
    taken: (reason: string) => void = () => {},
  ) {
    this.#redactor = redactor;
    this.#secrets = secrets;
    this.#canaries = canaries;
    this.#taken = taken;
  }

  outgoing(host: string): Outgoing {
    // A sandbox that never sends anything needs none of it.
    this.#marks ??= searchFor(
      [
        ...this.#secrets.map(({ placeholder }) => ({ name: placeholder, value: placeholder })),
        ...this.#canaries.map((value) => ({ name: value, value })),
      ],
      [],
    );
    const marks = this.#marks;
    return new Outgoing(
      () => [this.#redactor.byteStream(), new Marks(marks)],
      (name) => this.#judged(name, host),
    );
  }

  #judged(name: string, host: string): Finding | undefined {
    if (this.#canaries.includes(name)) {
      this.#taken(CANARY.reason);
      return CANARY;
    }
    const secret = this.#secrets.find(({ placeholder }) => placeholder === name);
    if (!secret) return leaving(name);
    return secret.isFor(host) ? undefined : misplaced(secret.name, host);
  }

  incoming(): Incoming | undefined {
    if (this.#secrets.length === 0) return undefined;
    this.#values ??= searchFor(
      this.#secrets.map(({ placeholder, value }) => ({ name: placeholder, value })),
      [],
    );
    return new Marks(this.#values);
  }
}

/** What goes by, with each hit as its name. */
class Marks implements Incoming {
  readonly #scanner: Scanner;

  constructor(search: Search) {
    this.#scanner = new Scanner(
      () => search,
      (name) => name,
    );
  }

  push(piece: Buffer): Buffer {
    return Buffer.from(this.#scanner.push(piece.toString("latin1")), "latin1");
  }

  end(): Buffer {
    return Buffer.from(this.#scanner.end(), "latin1");
  }

  found() {
    return this.#scanner.found();
  }
}

interface Looking {
  push(piece: Buffer): Buffer;
  end(): Buffer;
  found(): readonly { readonly kind: string }[];
}

/** Looks through one request: what it is told in any number of texts and pieces. A finding is told once. */
class Outgoing {
  readonly #open: () => Looking[];
  readonly #judged: (name: string) => Finding | undefined;
  readonly #body: Looking[];
  readonly #told = new Set<string>();
  #kept: Buffer[] = [];
  #bytes = 0;
  #nextLook = FIRST_LOOK;

  constructor(open: () => Looking[], judged: (name: string) => Finding | undefined) {
    this.#open = open;
    this.#judged = judged;
    this.#body = open();
  }

  /** A header, or the target: also with what is percent-encoded or escaped in it as it reads. */
  text(value: string): Finding[] {
    return plain(Buffer.from(value, "latin1")).flatMap((bytes) => this.#whole(bytes));
  }

  push(piece: Buffer): Finding[] {
    for (const one of this.#body) one.push(piece);
    const found = this.#findings(this.#body);
    this.#bytes += piece.length;
    if (this.#bytes <= KEPT) this.#kept.push(piece);
    if (this.#bytes < this.#nextLook || this.#bytes > KEPT) return found;
    this.#nextLook = this.#bytes * 2;
    return [...found, ...this.#within(false)];
  }

  end(): Finding[] {
    for (const one of this.#body) one.end();
    return [...this.#findings(this.#body), ...this.#within(true)];
  }

  /** What stands in the body in other forms, as far as it has come. */
  #within(whole: boolean): Finding[] {
    const bytes = Buffer.concat(this.#kept);
    this.#kept = whole ? [] : [bytes];
    try {
      const parts = unpacked(bytes).flatMap((part) => [part, ...plain(part).slice(1)]);
      return [...plain(bytes).slice(1), ...parts].flatMap((part) => this.#whole(part));
    } catch (error) {
      if (!(error instanceof TooMuchPacked) || this.#told.has(PACKED.rule)) return [];
      this.#told.add(PACKED.rule);
      return [PACKED];
    }
  }

  #whole(bytes: Buffer): Finding[] {
    const looking = this.#open();
    for (const one of looking) {
      one.push(bytes);
      one.end();
    }
    return this.#findings(looking);
  }

  #findings(looking: readonly Looking[]): Finding[] {
    return looking.flatMap((one) =>
      one.found().flatMap(({ kind }) => {
        if (!kind.startsWith(KIND) || this.#told.has(kind)) return [];
        this.#told.add(kind);
        return this.#judged(kind.slice(KIND.length)) ?? [];
      }),
    );
  }
}

const KIND = "secret:";

const CANARY: Finding = {
  rule: CANARY_RULE,
  reason:
    "it holds credentials that belong to nobody and were put into the sandbox to be noticed if they are taken",
};
const PACKED: Finding = {
  rule: "builtin.packed",
  reason:
    "it holds more compressed data than can be looked through for secrets; send it unpacked, or less of it",
};

function leaving(name: string): Finding {
  return {
    rule: SECRET_RULE,
    reason: `it holds the value of the secret ${name}, which never leaves in a request`,
  };
}

function misplaced(name: string, host: string): Finding {
  return {
    rule: PLACEHOLDER_RULE,
    reason: `it holds the placeholder of the secret ${name}, which is not for ${host}`,
  };
}

/** The bytes, and what they read as when percent-encoding and `\u` escapes are undone, once and twice. */
function plain(bytes: Buffer): Buffer[] {
  const forms = [bytes];
  for (let text = bytes.toString("latin1"); forms.length <= UNDONE; ) {
    const next = text
      .replace(PERCENT, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)))
      .replace(ESCAPED, (code) =>
        Buffer.from(String.fromCharCode(Number.parseInt(code.slice(2), 16))).toString("latin1"),
      );
    if (next === text) break;
    text = next;
    forms.push(Buffer.from(text, "latin1"));
  }
  return forms;
}
