//! Precedence, and the exact text of every complaint.
