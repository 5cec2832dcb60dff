import { statfs } from "node:fs/promises";
import { Gauge, type Registry } from "prom-client";
import { RunStatus, type RunView } from "../protocol/views.ts";

/** What is looked at when metrics are asked for, not kept. */
export interface GaugeSources {
  /** Every run there is. */
  runs(): Iterable<Pick<RunView, "status">>;
  /** Approvals that wait for a person. */
  approvalsPending(): number;
  /** Warm sandboxes, and those on their way. */
  pool(): { readonly ready: number; readonly starting: number };
  /** Sockets that are open. */
  streamSockets(): number;
  /** What checkpoints take on the engine's disk, and may take. */
  checkpoints(): { readonly bytes: number; readonly images: number; readonly budgetBytes: number };
  /** Folders whose file systems are measured, by what stands on them. */
  readonly disks: Readonly<Record<string, string>>;
}

export function addGauges(registry: Registry, sources: GaugeSources): void {
  const gauge = <Label extends string = never>(
    name: string,
    help: string,
    labelNames: Label[],
    collect: (gauge: Gauge<Label>) => void | Promise<void>,
  ) =>
    new Gauge<Label>({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        return collect(this);
      },
    });
  gauge("caisson_runs", "Runs there are, by status.", ["status"], (runs) => {
    const counts = new Map<RunStatus, number>(RunStatus.options.map((status) => [status, 0]));
    for (const { status } of sources.runs()) counts.set(status, (counts.get(status) ?? 0) + 1);
    for (const [status, count] of counts) runs.set({ status }, count);
  });
  gauge("caisson_approvals_pending", "Approvals that wait for a person.", [], (pending) =>
    pending.set(sources.approvalsPending()),
  );
  gauge("caisson_pool_sandboxes", "Sandboxes of the warm pool, by state.", ["state"], (pool) => {
    const { ready, starting } = sources.pool();
    pool.set({ state: "ready" }, ready);
    pool.set({ state: "starting" }, starting);
  });
  gauge("caisson_stream_sockets", "WebSockets that are open.", [], (sockets) =>
    sockets.set(sources.streamSockets()),
  );
  gauge("caisson_checkpoint_images", "Images of checkpoints there are.", [], (images) =>
    images.set(sources.checkpoints().images),
  );
  gauge(
    "caisson_checkpoint_bytes",
    "What checkpoints take on the engine's disk, each layer once, and what they may take.",
    ["kind"],
    (bytes) => {
      const { bytes: used, budgetBytes } = sources.checkpoints();
      bytes.set({ kind: "used" }, used);
      bytes.set({ kind: "budget" }, budgetBytes);
    },
  );
  gauge(
    "caisson_disk_bytes",
    "Room on the file systems used, by what stands there.",
    ["disk", "kind"],
    (disk) => measure(disk, sources.disks),
  );
}

/** A folder that this process can't see, such as a remote engine's, is left out. */
async function measure(
  disk: Gauge<"disk" | "kind">,
  folders: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [name, folder] of Object.entries(folders)) {
    const found = await statfs(folder).catch(() => undefined);
    if (found === undefined) continue;
    disk.set({ disk: name, kind: "free" }, found.bavail * found.bsize);
    disk.set({ disk: name, kind: "total" }, found.blocks * found.bsize);
  }
}
