// Package inbox turns what sources bring into notifications and has them put
// into the queue.
//
// [Parse] knows every wrapping in which commercetools' notifications arrive
// and tells them by their content. [Inbox] runs the sources and gives each a
// put that returns nil once all notifications of a body are safe (promise 1).
// A body that cannot be read is put too, with its fault, and ends as a dead
// letter (promise 2): a source that had to hold on to it would bring it for
// ever.
package inbox
