// Package house holds no code, only the checks of what the whole repository has agreed on: who may import whom, that
// the workspace lists its modules, which names and words do not occur, how large a file may grow. `make house`
// runs them.
package house
