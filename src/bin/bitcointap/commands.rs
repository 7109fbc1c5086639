//! The commands, each in a file, and what the writing ones share. In: arguments. Out: how the command ended.

mod destinations;
mod doctor;
mod export;
mod healthcheck;
mod manual;
mod probes;
mod record;
mod tap;
mod top;

pub use self::{
    doctor::doctor,
    export::export,
    healthcheck::healthcheck,
    manual::{completions, page},
    probes::probes,
    record::record,
    tap::tap,
    top::top,
};
