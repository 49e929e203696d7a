//! The shapes of answers and requests, as JSON. The domain knows nothing of them.

mod answers;
mod requests;

pub(super) use self::{answers::*, requests::*};
