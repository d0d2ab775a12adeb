package lru_test

import (
	"fmt"

	"socktally/internal/lru"
)

func Example() {
	squares := lru.New[int, int](10)
	for n := range 100 {
		squares.Put(n, n*n)
		squares.Get(0) // is in use all the time
	}
	for _, n := range []int{0, 1, 99} {
		square, found := squares.Get(n)
		fmt.Println(n, square, found)
	}
	fmt.Println(squares.Len() <= 20)
	// Output:
	// 0 0 true
	// 1 0 false
	// 99 9801 true
	// true
}
