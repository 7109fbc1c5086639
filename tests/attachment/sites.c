// A node with tracepoints at unusual places. In: a line on standard input. Out: as JSON, how often utxocache:flush
// fired, and how many wrong sums two functions have computed. These functions keep their summands below the stack
// pointer, as functions may that call no other one.

#include <stdio.h>
#include <unistd.h>

#define ROUNDS 1000

// A note as systemtap's sys/sdt.h writes it, for a tracepoint without a semaphore.
#define NOTE(address, provider, name, arguments)                                                                       \
	".pushsection .note.stapsdt, \"\", \"note\"\n"                                                                 \
	".balign 4\n"                                                                                                  \
	".4byte 992f - 991f, 994f - 993f, 3\n"                                                                         \
	"991: .asciz \"stapsdt\"\n"                                                                                    \
	"992: .balign 4\n"                                                                                             \
	"993: .8byte " address ", 0, 0\n"                                                                              \
	".asciz \"" provider "\", \"" name "\", \"" arguments "\"\n"                                                   \
	"994: .balign 4\n"                                                                                             \
	".popsection\n"

#define SITE(code, provider, name, arguments) "990: " code "\n" NOTE("990b", provider, name, arguments)

#define NOP5 ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"

#define SUM(function, site)                                                                                            \
	long function(long, long);                                                                                     \
	__asm__(".text\n"                                                                                              \
		".globl " #function "\n" #function ":\n"                                                               \
		"movq %rdi, -8(%rsp)\n"                                                                                \
		"movq %rsi, -16(%rsp)\n" site "movq -8(%rsp), %rax\n"                                                  \
		"addq -16(%rsp), %rax\n"                                                                               \
		"ret\n")

SUM(sum_at_a_pair_of_nops, SITE("nop\n" NOP5, "mempool", "added", "8@$0 -4@$1 -8@$2"));
SUM(sum_at_a_long_nop, SITE(NOP5, "mempool", "removed", "8@$0 8@$0 -4@$1 -8@$2 8@$3"));

// A tracepoint with an argument in the second byte of a register, and one without a place.
__asm__(".text\n" SITE("nop\n ret\n", "mempool", "replaced", "8@%rdi -4@%esi -8@%ah 8@%rcx 8@%r8 -4@%r9d -8@%rax")
		NOTE("0x7fff00000000", "mempool", "rejected", "8@%rdi 8@%rsi"));

static void flush(void)
{
	__asm__ volatile(SITE("nop\n", "utxocache", "flush", "-8@$1 4@$2 8@$3 8@$4 1@$1") "xorl %%eax, %%eax" ::
				 : "eax");
}

int main(void)
{
	long wrong = 0;

	fprintf(stderr, "sites: ready, pid %d\n", getpid());
	if (getchar() == EOF)
		return 1;
	for (long round = 0; round < ROUNDS; round++) {
		wrong += sum_at_a_pair_of_nops(round, 1) != round + 1;
		wrong += sum_at_a_long_nop(round, 2) != round + 2;
		flush();
	}
	printf("{\"tracepoints\": {\"utxocache:flush\": %d}, \"wrong\": %ld}\n", ROUNDS, wrong);
	return 0;
}
