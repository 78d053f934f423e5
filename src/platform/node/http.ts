/** Asks other hosts over HTTP. Redirections are followed; a header with a password stays with the host it was meant for. */

export interface HttpAnswer {
  readonly status: number;
  header(name: string): string | undefined;
  /** Once. */
  body(): AsyncIterable<Uint8Array>;
}

/** Fails with the system's reason when there is no answer. */
export async function httpGet(
  url: string,
  headers: Readonly<Record<string, string>>,
  signal?: AbortSignal,
): Promise<HttpAnswer> {
  let answer: Response;
  try {
    answer = await fetch(url, { headers, ...(signal && { signal }) });
  } catch (error) {
    const { cause } = error as { cause?: { code?: string; message?: string } };
    throw new Error(cause?.code ?? cause?.message ?? String(error), { cause: error });
  }
  return {
    status: answer.status,
    header: name => answer.headers.get(name) ?? undefined,
    async *body() {
      if (!answer.body) return;
      for await (const chunk of answer.body) yield chunk as Uint8Array;
    },
  };
}
