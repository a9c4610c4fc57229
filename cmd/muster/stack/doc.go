// Package stack is the local stack: its data directory, ports, secrets and configuration files, the processes in
// the order in which a record flows through them, and Up, which starts them all and stops them backwards.
//
// Contract: everything the stack knows lies in one directory that only its owner can read; whoever holds the
// lock in it is the stack. Files of configuration are written anew at each start from the same plan, secrets and
// certificates are made once and kept. Nothing here is needed by production: there, other hands start the
// same processes.
package stack
