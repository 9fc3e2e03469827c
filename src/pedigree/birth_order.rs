//! Parents before their offspring.

use crate::running::memory::{buffer, filled};
use crate::running::stop::check;

/// Parents of each animal, by number; -1 where unknown.
pub type Parents<'a> = &'a [[i32; 2]];

/// What is known of an animal while the order is made.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Unseen,
    /// Its ancestors are being placed.
    Open,
    Placed,
}

/// Animals so that parents come before their offspring: each in its turn, after those of its
/// ancestors that have not come yet.
///
/// # Errors
/// A chain of animals, each the parent of the next and the last one of the first, where an animal is
/// among its own ancestors.
pub fn birth_order(parents: Parents) -> Result<Vec<i32>, Vec<i32>> {
    let n = parents.len();
    let mut state = filled(State::Unseen, n);
    let mut order = buffer(n);
    // Animals whose ancestors are being placed, and the next parent of each to look at.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for animal in 0..n {
        if state[animal] != State::Unseen {
            continue;
        }
        check();
        open.push((animal, 0));
        state[animal] = State::Open;
        while let Some((own, next)) = open.last_mut() {
            if *next == 2 {
                state[*own] = State::Placed;
                order.push(*own as i32);
                open.pop();
                continue;
            }
            let parent = parents[*own][*next];
            *next += 1;
            if parent < 0 {
                continue;
            }
            match state[parent as usize] {
                State::Placed => {}
                State::Open => return Err(chain(&open, parent as usize)),
                State::Unseen => {
                    state[parent as usize] = State::Open;
                    open.push((parent as usize, 0));
                }
            }
        }
    }
    Ok(order)
}

/// The open animals from `first` on, which is a parent of the last one: ancestors first.
fn chain(open: &[(usize, usize)], first: usize) -> Vec<i32> {
    let at = open.iter().position(|(animal, _)| *animal == first).unwrap_or(0);
    open[at..].iter().rev().map(|(animal, _)| *animal as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::birth_order;

    #[test]
    fn rows_in_order_stay_and_others_follow_their_parents() {
        assert_eq!(birth_order(&[[-1, -1], [-1, 0], [1, 0]]), Ok(vec![0, 1, 2]));
        assert_eq!(birth_order(&[[2, 1], [-1, 2], [-1, -1]]), Ok(vec![2, 1, 0]));
    }

    #[test]
    fn a_loop_is_named_from_parent_to_offspring() {
        assert_eq!(birth_order(&[[-1, 2], [0, -1], [1, -1], [0, 2]]), Err(vec![1, 2, 0]));
        assert_eq!(birth_order(&[[0, -1]]), Err(vec![0]));
    }
}
