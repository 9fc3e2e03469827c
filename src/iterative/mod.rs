//! Crossed random effects past what a factorisation can hold.
//!
//! With A = Lambda'Z'Z Lambda + I, the factor with most effects is eliminated (its block is block
//! diagonal); what it leaves on the others, S, is never formed. Systems in S are solved by conjugate
//! gradients with the diagonal blocks as preconditioner P, many right-hand sides a pass over the
//! rows ([`conjugate_gradients`], [`coupling`]). log|S| = log|P| + tr log(P^-1/2 S P^-1/2) by
//! stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017, SIAM J. Matrix Anal. 38, 1075), the
//! traces of the gradient by the same probes and the same solves ([`probes`], [`estimate`]). The
//! probes are fixed, so that the estimates are deterministic and smooth in G.

pub mod blocks;
pub mod columns;
pub mod conjugate_gradients;
pub mod coupling;
pub mod data;
pub mod derivatives;
pub mod estimate;
pub mod gathered;
pub mod probes;
pub mod quadrature;
pub mod reduction;
pub mod system;
