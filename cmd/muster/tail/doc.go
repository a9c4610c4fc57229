// Package tail makes records of the log readable: what `muster events tail` prints. A record that cannot be read is
// shown as such, with its position: looking at the log must not depend on the log being well.
package tail
