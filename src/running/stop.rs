//! Ends a call before its time: the user pressed Ctrl-C, or memory ran out.
//!
//! A kernel far down ends the whole call by unwinding, as a panic does but without its message;
//! `python::gateway` catches it and raises. Kernels read shared data and write their own buffers, so
//! nothing half done is left behind.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stopped {
    /// What the caller listens to said so.
    Interrupted,
    /// So many bytes were needed, and so many were left.
    OutOfMemory {
        /// Bytes of the buffer.
        needed: usize,
        /// Bytes left; infinite where only the allocator knows.
        left: f64,
    },
}

/// Unwinds to whoever began the call.
pub fn stop(why: Stopped) -> ! {
    std::panic::resume_unwind(Box::new(why))
}

/// Time between two looks for a signal.
pub(crate) const PATIENCE: Duration = Duration::from_millis(50);

/// Asks whether a signal wants the call to end; set once, by the Python module.
static LISTENER: OnceLock<fn() -> bool> = OnceLock::new();

/// Has `listener` asked, from the thread that began a call, whether the call shall end.
pub fn listen(listener: fn() -> bool) {
    let _ = LISTENER.set(listener);
}

/// Says to the tasks of one call that it has ended.
pub(crate) type Flag = Arc<AtomicBool>;

thread_local! {
    /// In a thread of the pool, the flag of the call that its task belongs to.
    static FLAG: RefCell<Option<Flag>> = const { RefCell::new(None) };
    /// In a thread that begins calls, when it last looked for a signal.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether a signal wants the call to end, by what the listener says now.
pub(crate) fn asked_to_end() -> bool {
    LOOKED.set(Some(Instant::now()));
    LISTENER.get().is_some_and(|listener| listener())
}

/// Ends the call if a signal wants so: cheap enough for every task of some microseconds.
pub fn check() {
    let in_pool = FLAG.with_borrow(|flag| flag.as_ref().map(|f| f.load(Ordering::Relaxed)));
    let over = in_pool.unwrap_or_else(|| {
        LOOKED.get().is_none_or(|at| at.elapsed() >= PATIENCE) && asked_to_end()
    });
    if over {
        stop(Stopped::Interrupted);
    }
}

/// The flag of the call that this thread works for.
pub(crate) fn flag() -> Option<Flag> {
    FLAG.with_borrow(Clone::clone)
}

/// Runs a task of the call that owns `flag`, unless the call has ended.
pub(crate) fn under<T>(flag: Option<&Flag>, task: impl FnOnce() -> T) -> T {
    // A thread that waits for one task takes up another, perhaps another call's.
    let _restored = Restore(FLAG.replace(flag.cloned()));
    check();
    task()
}

struct Restore(Option<Flag>);

impl Drop for Restore {
    fn drop(&mut self) {
        FLAG.set(self.0.take());
    }
}
