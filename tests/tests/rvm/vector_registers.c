/* Two processes take turns; each must find its AVX registers as it left them. Prints how often one did not. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 200, REGISTERS = 4, BYTES = 32 * REGISTERS };

/* Loads ymm0 to ymm3, gives the processor away, and stores them. */
static void hold(const unsigned char *in, unsigned char *out)
{
	long ignored;

	asm volatile("vmovdqu (%1), %%ymm0; vmovdqu 32(%1), %%ymm1; vmovdqu 64(%1), %%ymm2; vmovdqu 96(%1), %%ymm3\n\t"
		     "syscall\n\t"
		     "vmovdqu %%ymm0, (%2); vmovdqu %%ymm1, 32(%2); vmovdqu %%ymm2, 64(%2); vmovdqu %%ymm3, 96(%2); vzeroupper"
		     : "=a"(ignored)
		     : "r"(in), "r"(out), "0"(SYS_sched_yield)
		     : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
}

int main(void)
{
	unsigned char in[BYTES], out[BYTES];
	int changed = 0, status = 0;
	pid_t child;

	if (!__builtin_cpu_supports("avx2")) {
		puts("0 changed: this processor has no AVX2");
		return 0;
	}
	child = fork();
	for (int round = 0; round < ROUNDS; round++) {
		memset(in, (child ? 1 : 101) + round % 100, BYTES);
		hold(in, out);
		changed += memcmp(in, out, BYTES) != 0;
	}
	if (!child)
		_exit(changed != 0);
	waitpid(child, &status, 0);
	printf("%d changed\n", changed + (status != 0));
	return 0;
}
