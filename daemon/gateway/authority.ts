import { randomBytes, type webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
// The library's container of parsers needs this polyfill loaded before it; it adds to `Reflect` and does no more.
import "reflect-metadata";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { z } from "zod";
import type { Authority } from "./port.ts";

const DAY = 86_400_000;
/** How far a sandbox's or this machine's clock may be off. */
const SLACK = DAY;
const AUTHORITY_LIFE = 3 * 365 * DAY;
/** Under what clients accept; minted anew when less than a tenth is left. */
const LEAF_LIFE = 90 * DAY;
const MOST_LEAVES = 64;
const P256 = { name: "ECDSA", namedCurve: "P-256" } as const;
const SIGNING = { name: "ECDSA", hash: "SHA-256" } as const;

/** An authority as it is kept, private key included: for its owner's eyes alone (a file of mode 0600). */
export const SavedAuthority = z.object({ certificate: z.string().max(10_000), key: z.string().max(10_000) });
export type SavedAuthority = z.infer<typeof SavedAuthority>;

/** What a gateway needs of an authority, and what brings it back in another process. */
export interface RunAuthority extends Authority {
  readonly saved: SavedAuthority;
}

interface Minting {
  readonly certificate: X509Certificate;
  readonly key: webcrypto.CryptoKey;
  /** All leaves share one key, which lives as long as this process. */
  readonly leafKeys: webcrypto.CryptoKeyPair;
  readonly leafPem: string;
}

/** A new authority for one run, named after it. */
export async function createAuthority(name: string): Promise<RunAuthority> {
  const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const subject = [{ O: ["Caisson"] }, { CN: [`Caisson, run ${name}`.slice(0, 64)] }];
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: subject,
    ...validity(AUTHORITY_LIFE),
    signingAlgorithm: SIGNING,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return authorityOf(certificate, keys.privateKey, await pemOf(keys.privateKey));
}

/**
 * The same authority again, from what `saved` was.
 * @throws {Error} when it is damaged, or its key is another certificate's
 */
export async function restoreAuthority(saved: unknown): Promise<RunAuthority> {
  const parsed = SavedAuthority.safeParse(saved);
  if (!parsed.success)
    throw new Error("the run's certificate authority is damaged: it lacks a certificate or key");
  const certificate = new X509Certificate(parsed.data.certificate);
  const [der] = PemConverter.decode(parsed.data.key);
  if (der === undefined) throw new Error("the run's certificate authority is damaged: its key can't be read");
  const key = await crypto.subtle.importKey("pkcs8", der, P256, true, ["sign"]);
  const authority = await authorityOf(certificate, key, parsed.data.key);
  createSecureContext({ cert: parsed.data.certificate, key: parsed.data.key });
  return authority;
}

async function authorityOf(
  certificate: X509Certificate,
  key: webcrypto.CryptoKey,
  keyPem: string,
): Promise<RunAuthority> {
  const leafKeys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const minting = { certificate, key, leafKeys, leafPem: await pemOf(leafKeys.privateKey) };
  const pem = `${certificate.toString("pem")}\n`;
  const leaves = new Leaves((host) => mint(minting, host));
  return {
    certificate: pem,
    contextFor: (host) => leaves.get(host),
    saved: { certificate: pem, key: keyPem },
  };
}

interface Leaf {
  readonly context: SecureContext;
  readonly until: number;
}

/** Leaves by host; beyond the most, the oldest goes. */
class Leaves {
  readonly #mint: (host: string) => Promise<Leaf>;
  readonly #kept = new Map<string, Promise<Leaf>>();

  constructor(mint: (host: string) => Promise<Leaf>) {
    this.#mint = mint;
  }

  async get(host: string): Promise<SecureContext> {
    const kept = await this.#kept.get(host);
    const leaf = kept && kept.until > Date.now() ? kept : await this.#renew(host);
    return leaf.context;
  }

  #renew(host: string): Promise<Leaf> {
    const minted = this.#mint(host);
    this.#kept.delete(host);
    this.#kept.set(host, minted);
    minted.catch(() => this.#kept.delete(host));
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MOST_LEAVES && oldest !== undefined) this.#kept.delete(oldest);
    return minted;
  }
}

async function mint({ certificate, key, leafKeys, leafPem }: Minting, host: string): Promise<Leaf> {
  const address = host.replace(/^\[|\]$/g, "");
  const { notBefore, notAfter } = validity(LEAF_LIFE);
  const leaf = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    // A name would have to fit in 64 characters; clients read the alternative name alone.
    subject: "",
    issuer: certificate.subjectName,
    notBefore,
    notAfter: new Date(Math.min(notAfter.getTime(), certificate.notAfter.getTime())),
    signingAlgorithm: SIGNING,
    signingKey: key,
    publicKey: leafKeys.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      // RFC 5280, 4.2.1.6: critical where the subject is empty.
      new SubjectAlternativeNameExtension(
        [isIP(address) ? { type: "ip", value: address } : { type: "dns", value: host }],
        true,
      ),
      await SubjectKeyIdentifierExtension.create(leafKeys.publicKey),
      await AuthorityKeyIdentifierExtension.create(certificate.publicKey),
    ],
  });
  const context = createSecureContext({ cert: leaf.toString("pem"), key: leafPem, minVersion: "TLSv1.2" });
  return { context, until: Date.now() + LEAF_LIFE - LEAF_LIFE / 10 };
}

function validity(life: number) {
  const now = Date.now();
  return { notBefore: new Date(now - SLACK), notAfter: new Date(now + life) };
}

/** 127 bits: positive, and never zero at its beginning. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  return `${PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}
