//! A permit comes from the decision point and cannot be made elsewhere.

use leasehold::authz::{Action, Permit, Resource};

fn main() {
    Permit {
        action: Action::CredentialDelete,
        resource: Resource::Workspace,
        decided_by: String::new(),
    };
}
