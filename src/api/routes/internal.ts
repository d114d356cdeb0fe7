// What processes of one cluster ask each other. Not for users: it changes with the version, and is in no description of the API.
import { decodeQuestion, MAX_QUESTION_BYTES, QUESTIONS_PATH, replyWith } from '../../engine/remote.ts'
import type { Routes } from '../app.ts'

export const internalRoutes: Routes = (app, { engine, config }) => {
  if (!config.kafka) return
  app.post<{ Body: Buffer }>(QUESTIONS_PATH, {
    config: { access: 'process' },
    bodyLimit: MAX_QUESTION_BYTES,
    schema: { hide: true },
    handler: async ({ body }, reply) => reply.type('application/octet-stream').send(await replyWith(engine.answer(decodeQuestion(body)))),
  })
}
