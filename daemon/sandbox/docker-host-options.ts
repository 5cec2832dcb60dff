/** What a Docker host is made of. */
import type { Engine } from "./engine.ts";

/** Where images come from; `Images` is one. */
export interface ImageSource {
  /** The engine's name for an image, which may have to be built first. */
  ensureImage(name: string, onProgress: (line: string) => void): Promise<string>;
  /** Somebody removed an image: what is known of which are there no longer counts. */
  forgetImages(): void;
}

interface SandboxLog {
  info(message: string): void;
  /** `fields` name the run and the sandbox that it is about. */
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface DockerHostConfig {
  /** Warm sandboxes for each image asked for; 0: none. */
  readonly poolSize: number;
  /** Images and limits kept warm at the same time. */
  readonly poolKeys: number;
  /** Pool sandboxes made at the same time. */
  readonly poolConcurrency: number;
  /** Sandboxes made at the same time in all: engines take longer for each, and may miss a deadline, with more. */
  readonly makeConcurrency: number;
  /** Milliseconds between two questions to a runner whether it is alive. */
  readonly heartbeatMs: number;
  /** Milliseconds a runner has for an answer: it takes one, on a machine that is not overwhelmed. */
  readonly answerMs: number;
}

export interface DockerHostOptions {
  /** Whom containers belong to: one daemon home. No other owner's container is ever touched (S5). */
  readonly owner: string;
  readonly engine: Engine;
  readonly images: ImageSource;
  /** The kit's tar file, or how to get its path when the first sandbox is made. */
  readonly kitPath: string | (() => Promise<string>);
  readonly config?: Partial<DockerHostConfig>;
  readonly log: SandboxLog;
}

export const DOCKER_HOST_DEFAULTS: DockerHostConfig = {
  poolSize: 2,
  poolKeys: 4,
  poolConcurrency: 2,
  makeConcurrency: 8,
  heartbeatMs: 15_000,
  answerMs: 10_000,
};
