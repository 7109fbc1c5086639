//! The simulated node with the tracepoints of layout v27-patched.

simnode::simulated_node!();
