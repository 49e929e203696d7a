//! The shapes of answers and requests, as JSON. The domain knows nothing of them.

mod answers;
mod check;
mod credential;
mod directory;
mod history;
mod hold;
mod issuer;
mod json;
mod key;
mod key_requests;
mod lease;
mod policies;
mod policy_trial;
mod rate;
mod report;
mod requests;
mod sealing;
mod token;

pub(super) use self::{
    answers::*, check::*, credential::*, directory::*, history::*, hold::*, issuer::*, json::*,
    key::*, key_requests::*, lease::*, policies::*, policy_trial::*, report::*, requests::*,
    sealing::*, token::*,
};
