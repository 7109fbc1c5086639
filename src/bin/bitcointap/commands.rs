//! The commands, a file for each, and `new_file` for those that write. In: arguments. Out: the result of the command.

mod check_config;
mod doctor;
mod export;

mod healthcheck;
mod manual;
mod new_file;
mod probes;
mod record;
mod tap;
mod top;

pub use self::{
    check_config::check_config,
    doctor::doctor,
    export::export,
    healthcheck::healthcheck,
    manual::{completions, page},
    probes::probes,
    record::record,
    tap::tap,
    top::top,
};
