//! Whole commands against recorded answers.
