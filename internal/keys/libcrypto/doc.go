// Package libcrypto makes RSA signatures with the libcrypto of OpenSSL 3 where the machine has one, so that the same
// bytes as those of Go's crypto/rsa take a fraction of the time.
//
// The library is loaded while the program runs; nothing of it is needed to build. What can't be done with it is done in
// Go: a Signer works whatever the library refuses. The build tag nolibcrypto leaves all of it out, which makes a program
// that is linked statically.
package libcrypto
