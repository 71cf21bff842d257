// Package archtest has no code, only tests that keep what ARCHITECTURE.md says of the source true: who imports whom,
// how large things are, where goroutines start, what is documented, and that the documents' links and examples hold.
package archtest
