use std::{
    future::Future,
    pin::pin,
    sync::atomic::AtomicBool,
    task::{Context, Poll, Waker},
};

use super::*;

fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    matches!(
        future.poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(())
    )
}

#[test]
fn a_turn_waits_for_those_before_it_and_for_nobody_after() {
    let epochs = Epochs::default();
    let (one, two) = (epochs.enter(), epochs.enter());
    let told = one.turn();
    let mut over = pin!(told.over());
    assert!(!poll(over.as_mut()), "nothing has turned yet");
    let mut drain = pin!(epochs.drain());
    assert!(!poll(drain.as_mut()));
    assert!(poll(over.as_mut()), "whoever dawdles is told");
    let later = epochs.enter();
    drop(one);
    assert!(!poll(drain.as_mut()), "one is still inside");
    two.leave();
    two.leave();
    assert!(poll(drain.as_mut()), "the later one is not waited for");
    drop(two);
    // The next turn reuses the first counter, and waits for the later one.
    let mut next = pin!(epochs.drain());
    assert!(!poll(next.as_mut()));
    drop(later);
    assert!(poll(next.as_mut()));
}

#[test]
fn a_turn_that_was_given_up_is_made_good_by_the_next() {
    let epochs = Epochs::default();
    let first = epochs.enter();
    assert!(!poll(pin!(epochs.drain()).as_mut()), "and dropped");
    let second = epochs.enter();
    let mut drain = pin!(epochs.drain());
    assert!(!poll(drain.as_mut()));
    drop(second);
    assert!(!poll(drain.as_mut()), "the first one is still inside");
    drop(first);
    assert!(poll(drain.as_mut()));
}

#[test]
fn turns_wait_for_each_other() {
    let epochs = Epochs::default();
    let held = epochs.enter();
    let (mut first, mut second) = (pin!(epochs.drain()), pin!(epochs.drain()));
    assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
    drop(held);
    assert!(poll(first.as_mut()) && poll(second.as_mut()));
}

// INVARIANT (stop-is-complete)
#[test]
fn nobody_who_read_the_old_state_is_inside_once_a_turn_is_done() {
    const TURNS: usize = 300;
    let epochs = Arc::new(Epochs::default());
    let state = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    // What each of them has read while inside; 0 while outside.
    let inside: Vec<Arc<AtomicU64>> = (0..4).map(|_| Arc::default()).collect();
    let threads: Vec<_> = inside
        .iter()
        .map(|mine| {
            let (epochs, state) = (epochs.clone(), state.clone());
            let (stop, mine) = (stop.clone(), mine.clone());
            std::thread::spawn(move || {
                while !stop.load(ORDER) {
                    let entered = epochs.enter();
                    // One more than what was read: a reader of the first state is seen as well.
                    mine.store(state.load(ORDER) + 1, ORDER);
                    // Long enough for a turn that waits for nobody to be over meanwhile.
                    (0..50).for_each(|_| std::thread::yield_now());
                    mine.store(0, ORDER);
                    drop(entered);
                }
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for turn in 1..=TURNS as u64 {
        state.store(turn, ORDER);
        runtime.block_on(epochs.drain());
        for mine in &inside {
            let read = mine.load(ORDER);
            assert!(read == 0 || read > turn, "read {read} after turn {turn}");
        }
    }
    stop.store(true, ORDER);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}
