// Package judgetest gives a test a log of incidents on the broker of the local stack, and who writes it as the judge does: in
// transactions, numbered on. No product code may import it.
package judgetest
