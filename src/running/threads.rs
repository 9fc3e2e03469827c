//! Tasks side by side: the only file that knows of threads.
//!
//! The pool belongs to one process. A child of `fork` has none of its parent's threads, so waiting
//! for them would never end: it finds the pool of another process and makes its own. Where no
//! threads can be had, tasks run one after the other in the thread that asked. Results come in the
//! order of the tasks, and what a task is never depends on the number of threads: same bits always.
//!
//! The thread that began a call waits outside the pool and looks for signals meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, TryLockError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::stop::{self, Flag, PATIENCE, Stopped};
use crate::running::memory;

/// Numbers that a pass over rows has to read before a pool saves more than it costs.
pub const PARALLEL_SIZE: usize = 400_000;
/// Pieces for each thread into which many tasks are cut.
const PIECES: usize = 32;
/// Bytes of addresses that a thread takes: its stack, and an arena of the allocator.
const THREAD: usize = 160 << 20;
/// Attempts to look at the pool before doing without. Another thread holds the lock for an instant,
/// unless it did so when this process was forked: then for ever.
const ATTEMPTS: usize = 200;

/// The threads of a process; `None` where one thread has to do.
#[derive(Clone, Copy)]
struct Threads {
    process: u32,
    pool: Option<&'static ThreadPool>,
}

/// Pools are never dropped: dropping one that was inherited would touch locks of dead threads.
static THREADS: Mutex<Option<Threads>> = Mutex::new(None);

thread_local! {
    /// What this thread last found in `THREADS`.
    static FOUND: Cell<Option<Threads>> = const { Cell::new(None) };
}

/// Runs `work` in the pool, where its own tasks are handed out faster.
pub fn enter<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() || pool().is_none() {
        return work();
    }
    wait(|flag| stop::under(Some(flag), work))
}

/// The result of each item's task, in order.
pub fn map<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    task: impl Fn(I) -> T + Sync + Send,
) -> Vec<T> {
    let items: Vec<I> = items.into_iter().collect();
    let inside = rayon::current_thread_index().is_some();
    if items.len() < 2 || (!inside && pool().is_none()) {
        one_by_one(items, task).collect()
    } else if inside {
        spread(items, stop::flag().as_ref(), &task).collect()
    } else {
        wait(|flag| spread(items, Some(flag), &task).collect())
    }
}

/// Does each item's task.
pub fn each<I: Send>(items: impl IntoIterator<Item = I>, task: impl Fn(I) + Sync + Send) {
    let items: Vec<I> = items.into_iter().collect();
    let inside = rayon::current_thread_index().is_some();
    if items.len() < 2 || (!inside && pool().is_none()) {
        one_by_one(items, task).for_each(drop);
    } else if inside {
        spread(items, stop::flag().as_ref(), &task).for_each(drop);
    } else {
        wait(|flag| spread(items, Some(flag), &task).for_each(drop));
    }
}

fn one_by_one<I, T>(items: Vec<I>, task: impl Fn(I) -> T) -> impl Iterator<Item = T> {
    items.into_iter().map(move |item| {
        stop::check();
        task(item)
    })
}

fn spread<I: Send, T: Send>(
    items: Vec<I>,
    flag: Option<&Flag>,
    task: &(impl Fn(I) -> T + Sync + Send),
) -> impl IndexedParallelIterator<Item = T> {
    let most = items.len().div_ceil(PIECES * rayon::current_num_threads()).max(1);
    let items = items.into_par_iter().with_max_len(most);
    items.map(move |item| stop::under(flag, || task(item)))
}

/// Runs `work` in the pool and looks for signals until it is done.
fn wait<R: Send>(work: impl FnOnce(&Flag) -> R + Send) -> R {
    let Some(pool) = pool() else { unreachable!("only called where there is a pool") };
    let flag = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = channel();
    let done = pool.in_place_scope(|scope| {
        scope.spawn(|_| {
            let done = catch_unwind(AssertUnwindSafe(|| work(&flag)));
            // Nobody waits any more only where the waiting thread is unwinding itself.
            let _ = sender.send(done);
        });
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) => {
                    if !flag.load(Ordering::Relaxed) && stop::asked_to_end() {
                        flag.store(true, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the task sends its outcome"),
            }
        }
    });
    // The signal was heard and would be lost, even if the work was done in the meantime.
    if flag.load(Ordering::Relaxed) {
        stop::stop(Stopped::Interrupted);
    }
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The threads of this process.
fn pool() -> Option<&'static ThreadPool> {
    let process = std::process::id();
    if let Some(threads) = FOUND.get().filter(|found| found.process == process) {
        return threads.pool;
    }
    let mut threads = with_lock(|threads| threads.filter(|t| t.process == process))?;
    if threads.is_none() {
        // Built outside the lock; another thread may be quicker, and then this one's is idle.
        let own = Threads { process, pool: build() };
        threads = with_lock(|threads| match threads {
            Some(first) if first.process == process => Some(*first),
            _ => Some(*threads.insert(own)),
        })?;
    }
    let threads = threads?;
    FOUND.set(Some(threads));
    threads.pool
}

fn with_lock<T>(look: impl FnOnce(&mut Option<Threads>) -> T) -> Option<T> {
    for _ in 0..ATTEMPTS {
        match THREADS.try_lock() {
            Ok(mut threads) => return Some(look(&mut threads)),
            Err(TryLockError::Poisoned(lock)) => {
                return Some(look(&mut lock.into_inner()));
            }
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    None
}

/// A pool of `RAYON_NUM_THREADS` threads, or as many as there are processors.
fn build() -> Option<&'static ThreadPool> {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let n = match asked {
        Some(n) if n > 0 => n,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    };
    if n < 2 || memory::left() < (n * THREAD) as f64 {
        return None;
    }
    let builder = ThreadPoolBuilder::new().num_threads(n).thread_name(|k| format!("mlmfast-{k}"));
    builder.build().ok().map(|pool| &*Box::leak(Box::new(pool)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_also_from_tasks_inside_tasks() {
        let squares = |n: usize| map(0..n, |i| i * i);
        let nested = map(0..50, squares);
        for (n, found) in nested.iter().enumerate() {
            assert_eq!(*found, (0..n).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_task_that_stops_the_call_stops_it_from_every_depth() {
        let call = || {
            map(0..100, |i| {
                each(0..100, |j| {
                    if i * j == 2_400 {
                        stop::stop(Stopped::OutOfMemory { needed: 7, left: 3.0 });
                    }
                });
            })
        };
        let payload = catch_unwind(call).expect_err("it stops");
        let why = payload.downcast_ref::<Stopped>().expect("not a panic");
        assert_eq!(*why, Stopped::OutOfMemory { needed: 7, left: 3.0 });
        assert_eq!(map(0..3, |i| i), [0, 1, 2]);
    }

    #[test]
    fn each_reaches_every_item() {
        let mut values = vec![0; 1_000];
        each(values.chunks_mut(7).enumerate(), |(k, part)| part.fill(k + 1));
        assert!(values.iter().enumerate().all(|(i, v)| *v == i / 7 + 1));
    }
}
