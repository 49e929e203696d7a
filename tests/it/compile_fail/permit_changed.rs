//! A permit that was given cannot be widened, copied, or written down to be used later.

use leasehold::authz::{Action, Permit};

fn widen(permit: &mut Permit) {
    permit.action = Action::CredentialDelete;
}

fn copy(permit: &Permit) -> Permit {
    permit.clone()
}

fn answer<T: serde::Serialize>(_: T) {}

fn write_down(permit: &Permit) {
    answer(permit);
}

fn main() {}
