//! The simulated node with the tracepoints of layout v25.

simnode::simulated_node!();
