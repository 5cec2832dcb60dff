import type { SecureContext } from "node:tls";
import type { RequestTerms, Tunnel } from "../policy/request-terms.ts";
import type { Sha256 } from "../protocol/ids.ts";
import type { Verdict } from "../protocol/verdicts.ts";

export type { RequestTerms, Tunnel };

/**
 * What the gateway asks of whoever answers for a run: what may leave, and that it is journalled. One for each run,
 * or for a single request of the daemon's own (the `fetch` tool). Whatever of it throws or rejects resets the
 * connection: nothing leaves and nothing comes in.
 */
export interface Gatekeeper {
  /**
   * What a CONNECT may become; nothing is journalled, nothing has left. A refused or an opaque tunnel is then judged
   * once, as method `CONNECT` of `https://host:port/`; in an inspected one each request is judged for itself.
   */
  tunnel(host: string, port: number): Tunnel;
  /**
   * Whether a request's body must be known before it is judged: so where a person is asked, and where the body
   * decides. `whole`: held until its end, at most 1 MiB. `streamed`: leaves piece by piece as it comes.
   */
  body(request: { readonly method: string; readonly url: string }): "whole" | "streamed";
  /**
   * Judges and journals a request before anything of it leaves; may wait for a person.
   * @param gone aborted when nobody waits for the answer any more
   * @throws when the run stops
   */
  judge(request: OutgoingRequest, gone: AbortSignal): Promise<Judged>;
  /**
   * Takes bytes that are about to leave from what the run may still send. Anything but `within`: they don't leave, for
   * there is nothing left to spend, or what the run holds by now may not go there.
   */
  spend(request: string, bytes: number): "within" | "beyond" | Violation;
  /** The answer has begun to come: whatever must be journalled before any of it reaches the sandbox. */
  arriving(request: string, status: number): Promise<void>;
  /** Journals how an allowed request ended. Resolves when that is on its way to disk. */
  finished(request: string, outcome: Outcome): Promise<void>;
  readonly inspection: Inspection;
  readonly authority: Authority;
}

/** A request as it would leave. */
export interface OutgoingRequest {
  readonly method: string;
  /** Absolute, in normal form; as it was sent, where a violation says that it has none. */
  readonly url: string;
  /** Absent: there is no body (`bodyBytes` is 0), or it is streamed (`bodyBytes` is absent too). */
  readonly bodyHash?: Sha256;
  readonly bodyBytes?: number;
  /** The beginning of a body that is text, for the person who is asked. */
  readonly bodyPreview?: string;
  /** What the gateway itself found wrong: denied with this rule and reason, whatever the policy says. */
  readonly violation?: Violation;
}

export interface Violation {
  readonly rule: string;
  readonly reason: string;
}

export type Judged =
  | {
      readonly allowed: true;
      /** The request's id in the journal. */
      readonly request: string;
      /** `maxBytesOut` holds for all that the sandbox sends with it: target, headers and body. */
      readonly terms: Pick<RequestTerms, "addresses" | "maxBytesOut">;
      /** Set over whatever the sandbox sent under the same names: credentials. */
      readonly headers: Readonly<Record<string, string>>;
    }
  | { readonly allowed: false; readonly request: string; readonly status: 403; readonly verdict: Verdict };

/** How a request ended. Bytes are those of heads and bodies, without what TLS adds. */
export interface Outcome {
  readonly status?: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly durationMs: number;
  /** Why it has no answer, or not the whole of one. */
  readonly error?: string;
}

/** Looks at what goes out and comes in for what must not. */
export interface Inspection {
  /**
   * For one request: names secrets, placeholders and canaries in its target, headers and body.
   * @param host where it goes; a placeholder of a secret that is for this host is no violation
   */
  outgoing(host: string): OutgoingScanner;
  /** For one answer: replaces real values by their placeholders. Undefined: the run has none to replace. */
  incoming(): IncomingFilter | undefined;
}

/** Text and pieces in any number and order; a finding is told once. */
export interface OutgoingScanner {
  text(value: string): readonly Violation[];
  push(piece: Buffer): readonly Violation[];
  end(): readonly Violation[];
}

/** A transformation that may hold bytes back until it has seen what follows. */
export interface IncomingFilter {
  push(piece: Buffer): Buffer;
  end(): Buffer;
}

/** A run's own certificate authority. */
export interface Authority {
  /** PEM, for the sandbox to trust. */
  readonly certificate: string;
  /** A certificate for the host, of this authority. */
  contextFor(host: string): Promise<SecureContext>;
}
