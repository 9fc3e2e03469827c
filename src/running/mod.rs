//! How a call runs: tasks on several threads, ending before its time, memory that is asked for,
//! on large pages.

pub mod memory;
mod pages;
pub mod stop;
pub mod threads;
