//! What somebody presented is not what is stored, and what is stored is compared in constant time alone.

use leasehold::{
    crypto::bearer::{Digest, Minted, Presented},
    domain::id::{CredentialId, LeaseId},
};

fn store(_: Digest) {}

fn store_what_was_presented(presented: Presented, minted: Minted) {
    store(presented);
    store(minted.text);
}

fn compare(one: Digest, other: Digest) -> bool {
    one == other
}

fn log(presented: Presented, digest: Digest, minted: Minted) {
    println!("{presented:?}");
    println!("{digest:?}");
    println!("{:?}", minted.text);
}

fn read_the_secret(presented: Presented) -> [u8; 32] {
    *presented.secret
}

fn mix_up(lease: LeaseId) -> CredentialId {
    lease
}

fn main() {}
