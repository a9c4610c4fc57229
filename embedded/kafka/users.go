package kafka

import "github.com/twmb/franz-go/pkg/kfake"

// User is one principal.
type User struct {
	Name   string
	Secret string
	// Super may do everything; its ACLs are not looked at.
	Super bool
	ACLs  []ACL
}

// ACL is kfake's: one right on one resource. The principal is the user that holds it.
type ACL = kfake.ACL
