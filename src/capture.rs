//! What a tap or a recording gives, as plain data: runs of a node, batches of events, counters. Knows no libbpf.
//!
//! In: records, from the ring buffer of the kernel side or from a recording. Out: [`Batch`]es of those that are wanted, whole.

mod batch;
mod clock;
mod counters;
mod intake;
mod named;
mod peers;
mod run;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use self::peers::PLACES as KNOWN_PEERS;
pub(crate) use self::{batch::Asked, clock::WallClock, intake::Intake};
pub use self::{
    batch::Batch,
    clock::now,
    counters::Counters,
    named::Named,
    run::{Counted, End, Run},
};

/// The batch itself, or a new one if somebody else still holds it.
pub fn unshared(batch: &mut Arc<Batch>) -> &mut Batch {
    if Arc::get_mut(batch).is_none() {
        *batch = Arc::default();
    }
    Arc::get_mut(batch).expect("a new Arc is not shared")
}

#[cfg(any(fuzzing, all(test, feature = "http")))]
pub(crate) mod fuzzing {
    use std::cell::RefCell;

    use super::{Batch, intake::Intake};
    use crate::selection::Selection;

    /// Records, taken as those of the ring buffer.
    pub(crate) fn batch<'a>(records: impl Iterator<Item = &'a [u8]>) -> Batch {
        thread_local! {
            // Its table of peers takes long to make.
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
