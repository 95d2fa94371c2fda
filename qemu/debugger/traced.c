// SPDX-License-Identifier: GPL-2.0
//
// What gdb traces: its exit status is what it has in .data, once that was added to.

int counter = 41;

__attribute__((noinline)) int work(int by)
{
	counter += by;
	return counter;
}

int main(void)
{
	return work(1);
}
