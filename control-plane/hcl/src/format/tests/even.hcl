# top
job "a" {
  // c
  type        = "batch"    # one
  datacenters = ["a", "b"] // two
  meta {
    a     = 1
    bbbbb = 2 /* x */
    c     = upper("x")
    d     = [for x in [1, 2] : x if x > -1]
    e     = { a = 1, b = 2 }
    f     = {}
    g     = {}
    h     = "${attr.x}-${f(1, -2)}%{if a}x%{endif}"
    i     = <<EOF
  ${attr.x}
     keep    this
EOF
    j     = 1
  }
  group "x" "y" { count = 1 }
  x = [
    1,
    2, # c
    3
  ]
  y = f({
    a  = 1
    bb = 2
  })
  z = !a && b || -c - -d
  w = a ? b : c
  v = a[0].b.*.c
  u = a[*].b
  t = (1 + 2) * 3 % 4


  s = 1
}
