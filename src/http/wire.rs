//! The shapes of answers and requests, as JSON. The domain knows nothing of them.

mod answers;
mod credential;
mod history;
mod key;
mod lease;
mod requests;
mod token;

pub(super) use self::{
    answers::*, credential::*, history::*, key::*, lease::*, requests::*, token::*,
};
