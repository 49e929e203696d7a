//! Chance with a seed, so that what was found can be run again, and how much of it there is to be.

/// Switches the long forms of these tests on.
const LONG: &str = "LEASEHOLD_LONG";
/// Takes a seed that an earlier run printed.
const SEED: &str = "LEASEHOLD_SEED";

/// The short number, or the long one where `LEASEHOLD_LONG=1`.
pub fn amount(short: u64, long: u64) -> u64 {
    if std::env::var(LONG).is_ok_and(|set| set == "1") {
        long
    } else {
        short
    }
}

/// A generator of our own: xorshift64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From the seed in the environment; else the long form draws one, and the short form has always the same. It is
    /// printed, which shows where a test fails.
    pub fn seeded() -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            if std::env::var_os(LONG).is_none() {
                return 1;
            }
            let now = jiff::Timestamp::now().as_microsecond() as u64;
            now ^ u64::from(std::process::id()) << 40
        });
        println!("{SEED}={seed}");
        Self::new(seed)
    }

    pub fn new(seed: u64) -> Self {
        // Spreads small seeds over all bits; xorshift never leaves zero.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xff51_afd7_ed55_8ccd) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `sides`, which is not zero.
    pub fn roll(&mut self, sides: u64) -> u64 {
        (self.next() >> 20) % sides
    }

    /// True once in `sides` times.
    pub fn once_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    /// Another generator, which this one decides.
    pub fn split(&mut self) -> Self {
        Self::new(self.next())
    }
}
