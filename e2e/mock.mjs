// Serves a commercetools that is not ours on a free port of loopback and prints
// its address.
import { CommercetoolsMock } from "@labdigital/commercetools-mock";

const mock = new CommercetoolsMock({
  strict: true, silent: true, enableAuthentication: true, validateCredentials: true, defaultProjectKey: "shop",
});
console.log(await mock.app.listen({ port: 0, host: "127.0.0.1" }));
