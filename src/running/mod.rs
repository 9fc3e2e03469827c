//! How a call runs: tasks on several threads, ending before its time, memory that is asked for.

pub mod memory;
pub mod stop;
pub mod threads;
