//! Claims about the whole, on real uprobes: a simulated node or a real one, the tool as a user runs it.
//! They take root, and the programs of the workspace built (`make test` does both).

mod attachment;
mod clients;
mod command_line;
mod compose;
mod dist;
mod doctor;
mod exposition;
mod follow;
mod golden;
mod grafana;
mod hostile;
mod kernel_side;
mod library;
mod manual;
mod node;
mod openmetrics;
mod outputs;
mod overload;
mod page;
mod pcap;
mod privileges;
mod prometheus;
mod real_node;
mod recording;
mod rules;
mod selection;
mod simulated_node;
mod soak;
mod streams;
mod time_namespaces;
mod tool;
mod top;
mod unread_log;
mod waiting;
mod which_node;
