//! A secret text can't be logged, answered, copied or compared by accident.

use leasehold::domain::secret::SecretText;

fn log(secret: SecretText) {
    println!("{secret:?}");
    println!("{secret}");
}

fn answer<T: serde::Serialize>(_: T) {}

fn show(secret: &SecretText) {
    answer(secret);
}

fn copy(secret: &SecretText) -> SecretText {
    secret.clone()
}

fn compare(one: SecretText, other: SecretText) -> bool {
    one == other
}

fn main() {}
