package fleet
import ("fmt"; "os")
var tracing = os.Getenv("TRACE") != ""
func trace(f string, a ...any) { if tracing { fmt.Printf(f+"\n", a...) } }
