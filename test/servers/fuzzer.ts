import type { AnswerCheck } from "./answers.ts";
import { RawHttp } from "./raw-http.ts";
import { type FuzzedRequest, rendered } from "./requests.ts";

/** Sends requests to a daemon and checks each answer; keeps a connection for as long as the daemon does. */
export class Fuzzer {
  readonly #address: string;
  readonly #check: AnswerCheck;
  readonly #answered: (request: FuzzedRequest, status: number, body: string) => void;
  #connection: RawHttp | undefined;

  constructor(settings: {
    readonly address: string;
    readonly check: AnswerCheck;
    readonly answered: (request: FuzzedRequest, status: number, body: string) => void;
  }) {
    this.#address = settings.address;
    this.#check = settings.check;
    this.#answered = settings.answered;
  }

  /** @throws when the answer is not one that the document declares, or there is none */
  async send(request: FuzzedRequest): Promise<void> {
    const bytes = rendered(request);
    const isHead = bytes.subarray(0, 5).toString() === "HEAD ";
    const connection = await this.#open();
    if (request.cut) connection.socket.end(bytes);
    else connection.socket.write(bytes);
    const answer = await connection.answer({ head: isHead });
    if (answer === undefined) {
      this.close();
      if (!request.cut) throw new Error(`no answer to ${summary(request, bytes)}`);
      return;
    }
    const [method = "", target = ""] =
      bytes.subarray(0, 20_000).toString("latin1").split(/\r?\n/)[0]?.split(" ") ?? [];
    const fault = this.#check.fault(answer, this.#check.operation(method, target), isHead);
    if (fault !== undefined)
      throw new Error(
        `${fault}: ${answer.status} ${answer.body.slice(0, 500)}\nto ${summary(request, bytes)}`,
      );
    this.#answered(request, answer.status, answer.body);
    // A mangled request may be two: nothing that follows may be taken for an answer to the next.
    if (request.wire !== undefined || request.cut || answer.headers.get("connection") === "close")
      this.close();
    else if (connection.ended || connection.rest.length > 0) this.close();
  }

  close(): void {
    this.#connection?.socket.destroy();
    this.#connection = undefined;
  }

  async #open(): Promise<RawHttp> {
    if (this.#connection?.ended) this.close();
    this.#connection ??= await RawHttp.open(this.#address);
    return this.#connection;
  }
}

function summary({ operation }: FuzzedRequest, bytes: Buffer): string {
  return `${operation.operationId}: ${JSON.stringify(bytes.subarray(0, 600).toString("latin1"))} (${bytes.length} bytes)`;
}
