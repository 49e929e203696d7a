//! Mistakes that the types must not allow: each file of `compile_fail/` makes some, and the compiler's refusal
//! stands beside it. Bless a new one with `TRYBUILD=overwrite`, and read what it says.

#[test]
fn types_forbid_the_mistake() {
    trybuild::TestCases::new().compile_fail("tests/it/compile_fail/*.rs");
}
