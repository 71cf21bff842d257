// Configdoc writes docs/configuration.md from the configuration structs and their comments, so that what is documented
// is what is read.
package main

import (
	"errors"
	"flag"
	"log"
	"os"
)

func main() {
	out := flag.String("o", "docs/configuration.md", "file to write")
	root := flag.String("root", "", "folder of go.mod (default: the folder of the file to write, and one up)")
	flag.Parse()
	if *root == "" {
		*root = *out + "/../.."
	}
	page, incomplete := page(*root)
	if err := errors.Join(os.WriteFile(*out, []byte(page), 0o644), incomplete); err != nil {
		log.Fatal(err)
	}
}
