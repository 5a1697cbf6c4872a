//! A node seen from outside.
