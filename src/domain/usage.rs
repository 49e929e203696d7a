//! What an API key was used for: its newest requests in full, and when each proof was used last.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{principal::ProofId, scope::ScopeSet, time::Timestamp};

/// Requests that are kept of one key; older ones are trimmed.
pub const KEPT_USES: usize = 1_000;
/// Requests in one stored block. A block that is full is never written again.
pub const BLOCK_USES: usize = 64;

/// One request that a key made, admitted or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub at: Timestamp,
    pub method: Cow<'static, str>,
    /// The template of the route, and never the path: that may hold what somebody put there by mistake.
    pub route: Arc<str>,
    pub status: u16,
    /// The error code of the answer; none of a success.
    pub code: Option<Cow<'static, str>>,
    pub source_ip: Option<IpAddr>,
    pub user_agent: Option<Arc<str>>,
    /// What the key would have needed, where that is why it was denied.
    pub missing: ScopeSet,
}

/// When a key or token was last let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUse {
    pub proof: ProofId,
    pub at: Timestamp,
}

/// The block, from 0, that the use with this number, from 0, belongs to.
pub const fn block_of(number: u64) -> u32 {
    let block = number / BLOCK_USES as u64;
    if block > u32::MAX as u64 {
        u32::MAX
    } else {
        block as u32
    }
}

/// The first block that is kept when a key was used `total` times.
pub const fn first_kept(total: u64) -> u32 {
    block_of(total.saturating_sub(KEPT_USES as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_keeps_every_one_of_the_newest() {
        for total in 0..5_000 {
            let kept = total - u64::from(first_kept(total)) * BLOCK_USES as u64;
            assert!(kept >= total.min(KEPT_USES as u64), "{total}: {kept}");
            assert!(kept < (KEPT_USES + BLOCK_USES) as u64, "{total}: {kept}");
        }
    }
}
