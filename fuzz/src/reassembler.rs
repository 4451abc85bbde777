use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use migration_core::reassembly::{Chunk, Options, Progress, Reassembler};
use migration_core::ErrorKind;

const MAX_CHUNKS: u32 = 48;
/// Steps behind it are not run: one may move 340 KB, and ten million scripts must take minutes, not hours.
const MAX_STEPS: usize = 10;

#[derive(Arbitrary, Debug)]
pub struct Script {
    /// Times 1,024: the largest snapshot; 0 is 64.
    max_snapshot_kib: u8,
    /// Times 4,096: the most pending bytes; 0 is no limit.
    max_pending_pages: u8,
    digest: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Feed {
        origin: u8,
        seq: u8,
        index: u8,
        total: u8,
        length: Length,
        fill: u8,
    },
    /// A whole run of full chunks, in order or backwards.
    FeedRun {
        origin: u8,
        seq: u8,
        from: u8,
        count: u8,
        total: u8,
        backwards: bool,
        fill: u8,
    },
    Cancel {
        origin: u8,
    },
    Forget {
        origin: u8,
    },
    Sweep {
        idle_ms: u8,
    },
    Wait {
        ms: u8,
    },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Length {
    Full,
    Empty,
    TooLong,
    Short(u16),
}

struct PendingModel {
    seq: u64,
    total: u32,
    chunks: BTreeMap<u32, Vec<u8>>,
    progress_ms: u64,
}

/// What the reassembler should do, in the plainest way.
#[derive(Default)]
struct Model {
    pending: HashMap<u64, PendingModel>,
    latest: HashMap<u64, u64>,
}

struct World {
    reassembler: Reassembler,
    model: Model,
    max_snapshot: u64,
    max_pending: u64,
    digest: bool,
    now_ms: u64,
}

/// Runs a script beside the model: the same verdicts, bytes, counts; limits hold.
pub fn check(script: &Script) {
    let max_snapshot = match script.max_snapshot_kib {
        0 => 64 << 10,
        kib => u64::from(kib) << 10,
    };
    let max_pending = match script.max_pending_pages {
        0 => 1 << 40,
        pages => u64::from(pages) << 12,
    };
    let digest = script.digest;
    let options = Options {
        max_snapshot_bytes: max_snapshot,
        max_pending_bytes: max_pending,
        digest,
    };
    let reassembler = Reassembler::new(options);
    let mut world = World {
        reassembler,
        model: Model::default(),
        max_snapshot,
        max_pending,
        digest,
        now_ms: 0,
    };
    for step in script.steps.iter().take(MAX_STEPS) {
        world.run(step);
        world.compare();
    }
}

/// Bytes that differ by fill and place, made once: making them anew would take most of the time.
fn content(fill: u8, index: u32, length: usize) -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| (0..14_000usize).map(|i| ((i * 131) ^ (i >> 8)) as u8).collect());
    let start = (usize::from(fill) * 97 + index as usize * 41) % 6_000;
    &pattern[start..start + length]
}

impl World {
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Feed {
                origin,
                seq,
                index,
                total,
                length,
                fill,
            } => {
                // Beyond the limit now and then, so that its refusal is visited.
                let total = if total == 255 {
                    700_001
                } else {
                    u32::from(total) % (MAX_CHUNKS + 1)
                };
                let index = u32::from(index) % (MAX_CHUNKS + 2);
                let length = match length {
                    Length::Full => 7000,
                    Length::Empty => 0,
                    Length::TooLong => 7001,
                    Length::Short(length) => usize::from(length) % 7001,
                };
                self.feed(
                    u64::from(origin % 3),
                    u64::from(seq % 4),
                    index,
                    total,
                    content(fill, index, length),
                );
            }
            Step::FeedRun {
                origin,
                seq,
                from,
                count,
                total,
                backwards,
                fill,
            } => {
                let total = 1 + u32::from(total) % MAX_CHUNKS;
                for i in 0..u32::from(count % 49) {
                    let index = (u32::from(from) + if backwards { total * 48 - i } else { i }) % total;
                    let length = if index + 1 == total {
                        1 + usize::from(fill) * 27
                    } else {
                        7000
                    };
                    let bytes = content(fill, index, length);
                    self.feed(u64::from(origin % 3), u64::from(seq % 4), index, total, bytes);
                }
            }
            Step::Cancel { origin } => {
                let origin = u64::from(origin % 3);
                assert_eq!(self.reassembler.cancel(origin), self.model.drop_pending(origin));
            }
            Step::Forget { origin } => {
                let origin = u64::from(origin % 3);
                self.model.drop_pending(origin);
                assert_eq!(
                    self.reassembler.forget(origin),
                    self.model.latest.remove(&origin).is_some()
                );
            }
            Step::Sweep { idle_ms } => {
                let (now, idle) = (self.now_ms, u64::from(idle_ms));
                let stale = |pending: &PendingModel| now - pending.progress_ms >= idle;
                let origins: Vec<u64> = self
                    .model
                    .pending
                    .iter()
                    .filter(|(_, p)| stale(p))
                    .map(|(origin, _)| *origin)
                    .collect();
                assert_eq!(self.reassembler.sweep(now as f64, idle as f64), origins.len());
                for origin in origins {
                    self.model.drop_pending(origin);
                }
            }
            Step::Wait { ms } => self.now_ms += u64::from(ms),
        }
    }

    fn feed(&mut self, origin: u64, seq_through: u64, index: u32, total: u32, bytes: &[u8]) {
        let chunk = Chunk {
            origin,
            seq_through,
            index,
            total,
            bytes,
        };
        let verdict = self.model.verdict(&chunk, self.max_snapshot);
        let before = (self.reassembler.pending_bytes(), self.reassembler.progress(origin));
        let fed = self.reassembler.feed(&chunk, self.now_ms as f64);
        match fed {
            Err(error) => {
                let after = (self.reassembler.pending_bytes(), self.reassembler.progress(origin));
                assert_eq!(before, after, "a refused chunk changes nothing");
                if error.kind() == ErrorKind::TooManyPendingBytes {
                    assert!(verdict.is_none() && self.max_pending < 1 << 40);
                } else {
                    assert_eq!(Some(error.kind()), verdict, "{error}");
                }
            }
            Ok(whole) => {
                assert_eq!(verdict, None);
                let expected = self.model.take(&chunk, self.now_ms);
                assert_eq!(whole.as_ref().map(|whole| whole.bytes.to_vec()), expected);
                if let Some(whole) = whole {
                    assert_eq!((whole.origin, whole.seq_through), (origin, seq_through));
                    let digest = migration_core::hash::blake3(&whole.bytes);
                    assert_eq!(whole.digest, self.digest.then_some(digest));
                }
            }
        }
    }

    fn compare(&self) {
        assert_eq!(self.reassembler.pending_count(), self.model.pending.len());
        assert!(self.reassembler.pending_bytes() <= self.max_pending);
        assert_eq!(self.reassembler.pending_bytes() == 0, self.model.pending.is_empty());
        for (origin, pending) in &self.model.pending {
            let received_bytes = pending.chunks.values().map(|bytes| bytes.len() as u64).sum();
            assert!(received_bytes <= self.max_snapshot);
            let expected = Progress {
                seq_through: pending.seq,
                total_chunks: pending.total,
                received_chunks: pending.chunks.len() as u32,
                received_bytes,
            };
            assert_eq!(self.reassembler.progress(*origin), Some(expected));
            let missing: Vec<u32> = self
                .reassembler
                .missing(*origin, usize::MAX)
                .into_iter()
                .flat_map(|(from, end)| from..end)
                .collect();
            let expected: Vec<u32> = (0..pending.total)
                .filter(|index| !pending.chunks.contains_key(index))
                .collect();
            assert_eq!(missing, expected);
        }
    }
}

impl Model {
    /// Why the chunk would be refused, but for the limit on pending bytes.
    fn verdict(&self, chunk: &Chunk<'_>, max: u64) -> Option<ErrorKind> {
        let pending = self.pending.get(&chunk.origin);
        let latest = pending
            .map(|pending| pending.seq)
            .or_else(|| self.latest.get(&chunk.origin).copied());
        let current = pending.filter(|pending| pending.seq == chunk.seq_through);
        let buffered: u64 = current.map_or(0, |pending| {
            let others = pending.chunks.iter().filter(|(index, _)| **index != chunk.index);
            others.map(|(_, bytes)| bytes.len() as u64).sum()
        });
        match () {
            () if chunk.total == 0 => Some(ErrorKind::ZeroTotalChunks),
            () if chunk.total > 700_000 => Some(ErrorKind::TotalChunksTooLarge),
            () if chunk.index >= chunk.total => Some(ErrorKind::ChunkIndexOutOfRange),
            () if chunk.bytes.is_empty() => Some(ErrorKind::EmptyChunk),
            () if chunk.bytes.len() > 7000 => Some(ErrorKind::ChunkTooLarge),
            () if latest.is_some_and(|latest| chunk.seq_through < latest) => Some(ErrorKind::StaleSeqThrough),
            () if current.is_some_and(|pending| pending.total != chunk.total) => Some(ErrorKind::TotalChunksMismatch),
            () if buffered + chunk.bytes.len() as u64 > max => Some(ErrorKind::SnapshotTooLarge),
            () if current.is_none() && u64::from(chunk.total) > max => Some(ErrorKind::SnapshotTooLarge),
            () => None,
        }
    }

    fn drop_pending(&mut self, origin: u64) -> bool {
        let Some(pending) = self.pending.remove(&origin) else {
            return false;
        };
        self.latest.insert(origin, pending.seq);
        true
    }

    fn take(&mut self, chunk: &Chunk<'_>, now_ms: u64) -> Option<Vec<u8>> {
        if self
            .pending
            .get(&chunk.origin)
            .is_some_and(|pending| pending.seq != chunk.seq_through)
        {
            self.drop_pending(chunk.origin);
        }
        self.latest.remove(&chunk.origin);
        let pending = self.pending.entry(chunk.origin).or_insert_with(|| PendingModel {
            seq: chunk.seq_through,
            total: chunk.total,
            chunks: BTreeMap::new(),
            progress_ms: now_ms,
        });
        if pending.chunks.insert(chunk.index, chunk.bytes.to_vec()).is_none() {
            pending.progress_ms = now_ms;
        }
        if pending.chunks.len() < pending.total as usize {
            return None;
        }
        let whole = pending
            .chunks
            .values()
            .map(Vec::as_slice)
            .collect::<Vec<&[u8]>>()
            .concat();
        self.drop_pending(chunk.origin);
        Some(whole)
    }
}
