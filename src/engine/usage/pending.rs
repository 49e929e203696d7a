//! Uses in memory, on their way to the store: bounded, and in shards, so that noting one waits for nobody long.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{
    id::KeyId,
    principal::ProofId,
    time::{Span, Timestamp},
    usage::{KEPT_USES, LastUse, Use},
};

const SHARDS: usize = 16;
/// Uses in one shard; what comes on top before they are written is not noted.
const MAX_USES: usize = 4_096;
/// Keys and tokens in one shard whose last use is remembered.
const MAX_SEEN: usize = 4_096;
/// A last use is written again after this long.
const WRITE_EVERY: Span = Span::from_secs(60);

#[derive(Default)]
pub(in crate::engine) struct Pending([Mutex<Shard>; SHARDS]);

#[derive(Default)]
struct Shard {
    uses: HashMap<KeyId, VecDeque<Use>>,
    count: usize,
    seen: HashMap<ProofId, Seen>,
}

struct Seen {
    at: Timestamp,
    written: Option<Timestamp>,
}

impl Pending {
    fn shard(&self, id: &[u8; 16]) -> MutexGuard<'_, Shard> {
        // The last byte of an id is random, unlike the first.
        let [.., last] = id;
        let [first, ..] = &self.0;
        let shard = self.0.get(usize::from(*last) % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        let lock = |shard| Mutex::lock(shard).unwrap_or_else(PoisonError::into_inner);
        self.0.iter().map(lock)
    }

    /// Notes a use of what proved it, and of what that goes back to.
    pub(super) fn note(&self, (proof, root): (ProofId, ProofId), admitted: bool, one: Use) {
        if admitted && proof != root {
            self.shard(proof.as_bytes()).seen(proof, one.at);
        }
        let mut shard = self.shard(root.as_bytes());
        if admitted {
            shard.seen(root, one.at);
        }
        if let ProofId::Key(id) = root
            && !shard.push(id, one)
        {
            metrics::counter!("leasehold_usage_dropped_total").increment(1);
        }
    }

    /// All uses, oldest first for each key; they are the caller's to write down.
    pub(super) fn take(&self) -> Vec<(KeyId, Vec<Use>)> {
        let mut taken = Vec::new();
        for mut shard in self.shards() {
            shard.count = 0;
            let uses = std::mem::take(&mut shard.uses);
            taken.extend(uses.into_iter().map(|(id, uses)| (id, uses.into())));
        }
        taken
    }

    /// Takes back, in front of newer ones, what could not be written.
    pub(super) fn put_back(&self, some: &[(KeyId, Vec<Use>)]) {
        for (id, uses) in some {
            let mut shard = self.shard(id.as_bytes());
            let newer = shard.uses.remove(id).unwrap_or_default();
            shard.count -= newer.len();
            for one in uses.iter().cloned().chain(newer) {
                shard.push(*id, one);
            }
        }
    }

    /// The uses of one key, oldest first.
    pub(super) fn of(&self, id: KeyId) -> Vec<Use> {
        let shard = self.shard(id.as_bytes());
        let uses = shard.uses.get(&id);
        uses.map_or_else(Vec::new, |uses| uses.iter().cloned().collect())
    }

    /// When it was used last, as far as that is remembered.
    pub(super) fn last(&self, proof: ProofId) -> Option<Timestamp> {
        let shard = self.shard(proof.as_bytes());
        shard.seen.get(&proof).map(|seen| seen.at)
    }

    /// The last uses to write at `now`: those not written within a minute, or `all` that are newer than what was
    /// written. Those with nothing left to write for as long are forgotten.
    pub(super) fn due(&self, now: Timestamp, all: bool) -> Vec<LastUse> {
        let mut due = Vec::new();
        for mut shard in self.shards() {
            shard.seen.retain(|proof, seen| {
                let newer = seen.written.is_none_or(|written| seen.at > written);
                let again = seen
                    .written
                    .is_none_or(|written| now.since(written) >= WRITE_EVERY);
                if newer && (all || again) {
                    due.push(LastUse {
                        proof: *proof,
                        at: seen.at,
                    });
                }
                newer || !again
            });
        }
        due
    }

    /// Notes that these are written down.
    pub(super) fn written(&self, some: &[LastUse]) {
        for last in some {
            let mut shard = self.shard(last.proof.as_bytes());
            if let Some(seen) = shard.seen.get_mut(&last.proof) {
                seen.written = Some(last.at);
            }
        }
    }
}

impl Shard {
    fn seen(&mut self, proof: ProofId, at: Timestamp) {
        if let Some(seen) = self.seen.get_mut(&proof) {
            seen.at = seen.at.max(at);
        } else if self.seen.len() < MAX_SEEN {
            self.seen.insert(proof, Seen { at, written: None });
        }
    }

    /// Adds a use; of more than are kept of one key, the oldest goes. Gives back false where there is no room.
    fn push(&mut self, id: KeyId, one: Use) -> bool {
        if let Some(uses) = self.uses.get_mut(&id)
            && uses.len() >= KEPT_USES
        {
            uses.pop_front();
            uses.push_back(one);
            return true;
        }
        if self.count >= MAX_USES {
            return false;
        }
        self.count += 1;
        self.uses.entry(id).or_default().push_back(one);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::scope::ScopeSet;

    fn key(n: u8) -> KeyId {
        KeyId::from_bytes([n; 16])
    }

    /// Of what goes back to itself.
    fn own(proof: ProofId) -> (ProofId, ProofId) {
        (proof, proof)
    }

    fn at(millis: u64) -> Use {
        Use {
            at: Timestamp::from_millis(millis),
            method: "GET".into(),
            route: "/v1/leases".into(),
            status: 200,
            code: None,
            source_ip: None,
            user_agent: None,
            missing: ScopeSet::EMPTY,
        }
    }

    fn times(uses: &[Use]) -> Vec<u64> {
        uses.iter().map(|one| one.at.as_millis()).collect()
    }

    #[test]
    fn the_newest_of_a_key_stay_and_memory_is_bounded() {
        let pending = Pending::default();
        for millis in 0..KEPT_USES as u64 + 5 {
            pending.note(own(ProofId::Key(key(1))), true, at(millis));
        }
        let kept = pending.of(key(1));
        assert_eq!((kept.len(), kept[0].at.as_millis()), (KEPT_USES, 5));
        for n in 0..MAX_USES as u64 + 100 {
            let mut id = [7; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            pending.note(own(ProofId::Key(KeyId::from_bytes(id))), true, at(n));
        }
        assert!(pending.shards().all(|shard| shard.count <= MAX_USES
            && shard.seen.len() <= MAX_SEEN
            && shard.count == shard.uses.values().map(VecDeque::len).sum::<usize>()));
    }

    #[test]
    fn a_use_of_a_token_is_one_of_the_key_that_it_goes_back_to() {
        use crate::domain::id::TokenId;
        let pending = Pending::default();
        let (token, root) = (
            ProofId::Token(TokenId::from_bytes([2; 16])),
            ProofId::Key(key(1)),
        );
        pending.note((token, root), true, at(1));
        pending.note((token, root), false, at(2));
        assert_eq!(times(&pending.of(key(1))), [1, 2]);
        for proof in [token, root] {
            assert_eq!(pending.last(proof), Some(Timestamp::from_millis(1)));
        }
    }

    #[test]
    fn what_could_not_be_written_comes_back_in_its_order() {
        let pending = Pending::default();
        let proof = ProofId::Key(key(1));
        pending.note(own(proof), true, at(1));
        pending.note(own(proof), true, at(2));
        let taken = pending.take();
        assert!(pending.of(key(1)).is_empty() && pending.take().is_empty());
        pending.note(own(proof), true, at(3));
        pending.put_back(&taken);
        assert_eq!(times(&pending.of(key(1))), [1, 2, 3]);
        let [(id, uses)] = &pending.take()[..] else {
            panic!("one key")
        };
        assert_eq!((*id, times(uses)), (key(1), vec![1, 2, 3]));
    }

    #[test]
    fn a_last_use_is_written_once_a_minute_and_at_the_end() {
        let pending = Pending::default();
        let proof = ProofId::Key(key(1));
        let now = Timestamp::from_millis;
        let due = |at, all| {
            let due = pending.due(now(at), all);
            pending.written(&due);
            due.iter()
                .map(|last| last.at.as_millis())
                .collect::<Vec<_>>()
        };
        pending.note(own(proof), false, at(500));
        assert_eq!(pending.last(proof), None, "a use that was turned away");
        pending.note(own(proof), true, at(1_000));
        assert_eq!(due(1_500, false), [1_000]);
        pending.note(own(proof), true, at(2_000));
        assert_eq!(pending.last(proof), Some(now(2_000)));
        assert_eq!(due(60_999, false), [0; 0]);
        assert_eq!(due(61_000, false), [2_000]);
        pending.note(own(proof), true, at(61_500));
        assert_eq!(due(61_600, true), [61_500]);
        assert_eq!(due(200_000, true), [0; 0]);
        assert_eq!(pending.last(proof), None, "nothing is left to write");
    }
}
