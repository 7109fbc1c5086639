//! Runs of a node, batches of events, and counters, as plain data. A tap and a recording give the same. Nothing here knows libbpf.
//!
//! In: records, from the ring buffer or from a recording. Out: [`Batch`]es of the wanted ones, completed.

mod batch;
mod clock;
mod counters;
mod intake;
mod named;
mod peers;
mod run;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use self::peers::SLOTS as KNOWN_PEERS;
pub(crate) use self::{batch::Asked, clock::WallClock, intake::Intake};
pub use self::{
    batch::Batch,
    clock::now,
    counters::Counters,
    named::Named,
    run::{Counted, End, Joined, Run},
};

/// Gives this batch, or a new one if somebody else still holds it.
pub fn unshared(batch: &mut Arc<Batch>) -> &mut Batch {
    if Arc::get_mut(batch).is_none() {
        *batch = Arc::default();
    }
    Arc::get_mut(batch).expect("a new Arc is not shared")
}

#[cfg(any(fuzzing, all(test, feature = "http", feature = "nats")))]
pub(crate) mod fuzzing {
    use std::cell::RefCell;

    use super::{Batch, intake::Intake};
    use crate::selection::Selection;

    /// Takes records as if they came from the ring buffer.
    pub(crate) fn batch<'a>(records: impl Iterator<Item = &'a [u8]>) -> Batch {
        thread_local! {
            // Kept, because its table of peers takes long to make.
            static INTAKE: RefCell<Intake> = RefCell::new(Intake::new(&Selection::default()));
        }
        INTAKE.with_borrow_mut(|intake| {
            for record in records {
                intake.take(record);
            }
            let mut batch = Batch::default();
            intake.swap(&mut batch);
            batch
        })
    }
}
